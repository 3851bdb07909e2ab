"""Retirements: states that no record may enter, since a new version of the workflow lacks them."""
