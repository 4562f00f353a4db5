"""`tgi-autoround inspect`: what a checkpoint holds and how it would be served, from its headers alone."""
