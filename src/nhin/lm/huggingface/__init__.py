"""Language models as Hugging Face lays them out, there and back."""
