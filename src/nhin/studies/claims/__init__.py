"""The headline claims of the sources, each measured by one function and judged by a stated bound."""
