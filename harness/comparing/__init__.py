"""Two runs against each other: what differs, what became better or worse, and what a gate says of it."""
