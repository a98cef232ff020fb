"""One consumer for each kind of endpoint: section 1 of the protocol."""
