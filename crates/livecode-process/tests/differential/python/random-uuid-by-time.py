import uuid
print(uuid.uuid1().version, uuid.uuid1() != uuid.uuid1(), uuid.uuid5(uuid.NAMESPACE_DNS, 'x'))
