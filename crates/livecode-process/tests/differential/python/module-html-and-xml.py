import html, xml.etree.ElementTree as tree
print(html.escape('<&>'), tree.tostring(tree.fromstring('<a><b c="1"/></a>')))
