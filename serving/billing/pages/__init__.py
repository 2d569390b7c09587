"""A month's statement as static HTML: invoices for customers, a report for the platform team."""

from serving.billing.pages.render import render_html

__all__ = ["render_html"]
