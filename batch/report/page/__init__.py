"""report.html: what it shows, as data, and the document that shows it. Its scripts and styles lie beside."""
