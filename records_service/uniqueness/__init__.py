"""Makes attributes unique whose values are stored already, and takes that back."""
