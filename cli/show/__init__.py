"""Results for people: text, tables, a page, charts."""
