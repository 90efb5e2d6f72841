"""Raw data: from what extract() gives to a checked, versioned Parquet file. The room of DVC."""
