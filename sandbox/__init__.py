"""The untrusted side: fork server, workers, and the wire between them and the supervisor."""
