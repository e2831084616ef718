"""Calls any unary method with nothing known in advance but server reflection.

grpc_call.py HOST:PORT [SERVICE/]METHOD JSON. Prints the reply as JSON. The service is the first one that is neither
reflection nor health, unless it is named.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main(address, method, request):
    channel = grpc.insecure_channel(address)
    reflection = ProtoReflectionDescriptorDatabase(channel)
    if "/" in method:
        service, method = method.split("/")
    else:
        services = [name for name in reflection.get_services() if not name.startswith("grpc.")]
        service = services[0]
    pool = descriptor_pool.DescriptorPool(reflection)
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request_class = message_factory.GetMessageClass(described.input_type)
    reply_class = message_factory.GetMessageClass(described.output_type)
    call = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=request_class.SerializeToString,
        response_deserializer=reply_class.FromString,
    )
    reply = call(json_format.Parse(request, request_class()), timeout=30)
    print(json_format.MessageToJson(reply, preserving_proto_field_name=True))


main(*sys.argv[1:])
