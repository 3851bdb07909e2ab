"""Reads an Akeneo catalogue from CSV files and plans the corresponding objects of Sigma.

    CSV files    --reading-->  Catalogue    --modelling-->  model objects
    products.csv --survey-->   what is used --products-->   record plans

Nothing here sends anything: `deploy.importers.loading` does.
"""
