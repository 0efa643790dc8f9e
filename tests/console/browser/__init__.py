"""A package, so that what is there once for all of its tests ends with the last of them."""
