"""The only writer of records, their unique keys, their history and the record counter."""
