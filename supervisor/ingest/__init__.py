"""From an HTTP request to accepted events: bodies, validation, timestamps, routes.

Owns the tracking API. Must not know workers or deliveries in flight.
"""
