"""TGI's JSON, under TGI's schema names."""
