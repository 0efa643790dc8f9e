"""Walks through the house: which modules a journey passes, and how the rooms hang together."""
