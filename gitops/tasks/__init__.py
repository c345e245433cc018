"""What one task of a rendered playbook does on its host, through the channel. Standard library, and jinja2 for the edge.

A deployment's folder carries this package, so that it runs without the controller.
"""
