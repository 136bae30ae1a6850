"""PST and OST files in pure Python. Of the rest of Excise it uses nothing but the errors.

>>> import excise.pst
>>> with excise.pst.open("mail.pst") as pst:
...     for folder in pst.folders():
...         for row in folder.summaries():
...             print(folder.path, row.subject, row.delivery_time)
"""
