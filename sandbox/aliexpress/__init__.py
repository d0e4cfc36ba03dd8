"""AliExpress' open platform: dropshipping, affiliate and OAuth, as the wire protocol is known."""
