"""Removes the values of deleted attributes from records, as a background job."""
