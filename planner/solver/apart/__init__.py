"""Programs that fall apart into parts which meet only in rows over nodes: situations side by side, above all."""
