"""BigBuy's API, as its wire protocol is known; what is not known is a setting or is said in docs/sandbox.md."""
