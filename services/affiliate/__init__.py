"""The affiliate proxy: AliExpress's products, categories and commission links over the operator's own app.

It belongs to no merchant and keeps nothing but a cache. See docs/affiliate.md.
"""
