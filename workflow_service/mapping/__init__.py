"""What a record looks like at a target, and back: pure rules of field mappings."""
