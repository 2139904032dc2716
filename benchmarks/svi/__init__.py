"""ppzoo's SVI beside others': one file for each, on problems that are the same in all of them."""
