"""What each part of the system costs for each request and event, and whether processes add up."""
