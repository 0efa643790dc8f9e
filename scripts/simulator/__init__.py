"""The scheduler's core against modelled destinations, on a virtual clock: hours in seconds."""
