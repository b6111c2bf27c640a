// Subscribes to ROS 2 topics with Fast DDS, the middleware of ROS 2 Humble and Jazzy, and prints every message
// as a line: TOPIC HEX. Usage: fastdds_listener DOMAIN SECONDS TOPIC=TYPE ...
// For example rt/tf=tf2_msgs::msg::dds_::TFMessage_. Only the loopback interface is used.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <fastdds/dds/domain/DomainParticipant.hpp>
#include <fastdds/dds/domain/DomainParticipantFactory.hpp>
#include <fastdds/dds/subscriber/DataReader.hpp>
#include <fastdds/dds/subscriber/SampleInfo.hpp>
#include <fastdds/dds/subscriber/Subscriber.hpp>
#include <fastdds/dds/topic/TopicDataType.hpp>
#include <fastdds/rtps/transport/UDPv4TransportDescriptor.h>

using namespace eprosima::fastdds::dds;
using eprosima::fastrtps::rtps::InstanceHandle_t;
using eprosima::fastrtps::rtps::SerializedPayload_t;

using Bytes = std::vector<unsigned char>;

// A type of any name whose samples are the bytes on the wire.
class Raw : public TopicDataType {
public:
    explicit Raw(const std::string& name) { setName(name.c_str()); m_typeSize = 1 << 10; }
    bool serialize(void*, SerializedPayload_t*) override { return false; }
    bool deserialize(SerializedPayload_t* payload, void* data) override {
        static_cast<Bytes*>(data)->assign(payload->data, payload->data + payload->length);
        return true;
    }
    std::function<uint32_t()> getSerializedSizeProvider(void*) override { return [] { return 0; }; }
    void* createData() override { return new Bytes; }
    void deleteData(void* data) override { delete static_cast<Bytes*>(data); }
    bool getKey(void*, InstanceHandle_t*, bool) override { return false; }
};

int main(int count, char** words) {
    DomainParticipantQos qos;
    auto udp = std::make_shared<eprosima::fastdds::rtps::UDPv4TransportDescriptor>();
    udp->interfaceWhiteList.push_back("127.0.0.1");
    qos.transport().user_transports.push_back(udp);
    qos.transport().use_builtin_transports = false;
    eprosima::fastrtps::rtps::Locator_t peer;
    auto& peers = qos.wire_protocol().builtin.initialPeersList;
    const int domain = std::atoi(words[1]);
    for (int participant = 0; participant < 10; ++participant) {
        eprosima::fastrtps::rtps::IPLocator::setIPv4(peer, "127.0.0.1");
        peer.port = 7400 + 250 * domain + 10 + 2 * participant;
        peers.push_back(peer);
    }
    auto* node = DomainParticipantFactory::get_instance()->create_participant(domain, qos);
    auto* subscriber = node->create_subscriber(SUBSCRIBER_QOS_DEFAULT);
    std::vector<std::pair<std::string, DataReader*>> readers;
    for (int n = 3; n < count; ++n) {
        const std::string word = words[n];
        const std::string topic = word.substr(0, word.find('=')), type = word.substr(word.find('=') + 1);
        TypeSupport support(new Raw(type));
        support.register_type(node);
        DataReaderQos reader_qos = DATAREADER_QOS_DEFAULT;
        reader_qos.reliability().kind = RELIABLE_RELIABILITY_QOS;
        const bool latched = topic.find("tf_static") != std::string::npos || topic.find("urdf") != std::string::npos ||
                             topic.find("discovery_info") != std::string::npos;
        if (latched)
            reader_qos.durability().kind = TRANSIENT_LOCAL_DURABILITY_QOS;
        reader_qos.history().kind = KEEP_ALL_HISTORY_QOS;
        reader_qos.endpoint().history_memory_policy =
            eprosima::fastrtps::rtps::PREALLOCATED_WITH_REALLOC_MEMORY_MODE;  // as ROS 2 does
        auto* named = node->create_topic(topic, type, TOPIC_QOS_DEFAULT);
        readers.emplace_back(topic, subscriber->create_datareader(named, reader_qos));
    }
    std::printf("ready\n");
    std::fflush(stdout);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(int(1000 * std::atof(words[2])));
    while (std::chrono::steady_clock::now() < end) {
        for (auto& [topic, reader] : readers) {
            Bytes data;
            SampleInfo info;
            while (reader->take_next_sample(&data, &info) == ReturnCode_t::RETCODE_OK)
                if (info.valid_data) {
                    std::printf("%s ", topic.c_str());
                    for (unsigned char byte : data) std::printf("%02x", byte);
                    std::printf("\n");
                }
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}
