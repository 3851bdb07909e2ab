"""The shelf that all four services share: it knows no product word but those in `events`."""
