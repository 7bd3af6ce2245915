"""Networks that were made elsewhere: files of other frameworks, used as they are."""
