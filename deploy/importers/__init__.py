"""Imports a catalogue from another system into Sigma, through the public API.

A source (such as `akeneo`) reads its files and says what Sigma should hold, as a `plan`; `loading`
brings a workspace there, whatever it holds already; `report` tells what came of it.
"""
