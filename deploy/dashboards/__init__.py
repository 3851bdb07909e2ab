"""Dashboards for Grafana: what each shows, and how it is drawn.

board      rows of charts as Grafana reads them, by its own library
clients    for whoever answers to the clients: rate, errors and duration
events     for whoever looks after what follows a change
database   for whoever looks after PostgreSQL
"""
