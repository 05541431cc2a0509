"""Plans and diffs as one HTML page that works offline: text, tables, and a plot beside each table that suits one.

`plan_page` and `diff_page` say what stands on a page (frozen blocks, every number through `report.numbers`), `charts`
draws with Altair, `render` writes the document. Nothing here is imported before a page is asked for.
"""
