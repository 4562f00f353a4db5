"""`tgi-autoround bench`: measurements on the machine at hand."""
