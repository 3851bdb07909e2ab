"""Change sets: what people, programs and agents propose, what is decided, and how it is applied."""
