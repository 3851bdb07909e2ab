"""The way of background jobs through all records of some schemas, and what is written meanwhile."""
