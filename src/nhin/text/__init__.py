"""Text as data: Vietnamese letters and syllables, the recognizer's charset, tokenizers. All text is NFC from
here on. Imports only config and errors, and no torch.
"""
