"""Reads an Akeneo catalogue in CSV files and says what Sigma should hold instead of it.

    files --reading--> Catalogue --modelling--> model objects
                       products.csv --products--> record plans

Nothing here sends anything: `deploy.move_in.loading` does.
"""
