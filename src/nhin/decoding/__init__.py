"""From what a network says to ids: CTC, and draft-and-verify for the decoder."""
