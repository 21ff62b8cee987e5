"""The book: which units are held where, as the registries' own signed messages say."""
