"""Reads an Akeneo catalogue in CSV files and says what Sigma should hold instead of it.

    CSV files    --reading-->  Catalogue    --modelling-->  model objects
    products.csv --survey-->   what is used --products-->   record plans

Nothing here sends anything: `deploy.move_in.loading` does.
"""
