"""The network: encoder, exchange between modalities, decoder."""
