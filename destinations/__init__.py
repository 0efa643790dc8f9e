"""Destinations: one folder each, written against `destinations.kit` alone."""
