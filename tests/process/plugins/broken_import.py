"""A destination whose module cannot be imported."""

raise RuntimeError("this module is broken")
