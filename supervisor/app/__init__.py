"""The running service: what is started in which order, followed on reload, and told to operators.

Owns the lifetime of all parts and the wiring between them. Must not decide what one part
decides for itself.
"""
