"""What happens to events, kept for people to look at: bounded, and never in the way of delivery."""
