"""The family without attention: softmax regression on one vector."""
