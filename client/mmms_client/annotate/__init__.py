"""The app in which people annotate: a local web server and its page.

::

    document    what is on screen, as messages              server      addresses, who may speak, files of the page
    open_image  one image: document, journal, model         socket      a page's ops, replies and news
    project     images, classes, states, settings           operations  which ops there are and what they take
    pictures    files as the browser shows them             model       the connection to Triton

Importing this package loads none of them.
"""
