"""By this file a server is known as tgi-gaudi 2.0."""
