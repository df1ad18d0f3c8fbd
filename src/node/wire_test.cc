#include "node/wire.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

TEST(StartActor, CarriesTheSpecAsItCame) {
  Builder create;
  const auto name = create.CreateString("Counter");
  const std::vector<uint8_t> methods = {1, 2, 3};
  const auto bytes = create.CreateVector(methods);
  const auto resource = wire::CreateResourceDirect(create, "CPU", 10'000);
  const auto resources = create.CreateVector(&resource, 1);
  ActorId id;
  id.data()[3] = 7;
  const auto wired_id = id.to_wire<wire::ActorId>();
  wire::ActorSpecBuilder spec(create);
  spec.add_actor(&wired_id);
  spec.add_class_name(name);
  spec.add_methods(bytes);
  spec.add_running_resources(resources);
  create.Finish(wire::CreateCreateActor(create, spec.Finish()));
  controller::ActorFrame frame;
  frame.table.assign(create.GetBufferPointer(), create.GetBufferPointer() + create.GetSize());
  frame.table.insert(frame.table.end(), (8 - frame.table.size() % 8) % 8, 0);  // as frames are

  Allocation allocation{{}, {{"GPU", {{2, sched::kOne}, {3, sched::kOne}}}}};
  Builder start;
  pack_start_actor(start, frame, 4, allocation);
  flatbuffers::Verifier verifier(start.GetBufferPointer(), start.GetSize());
  ASSERT_TRUE(verifier.VerifyBuffer<wire::StartActor>(nullptr));
  const auto* table = flatbuffers::GetRoot<wire::StartActor>(start.GetBufferPointer());
  EXPECT_EQ(table->incarnation(), 4);
  EXPECT_EQ(ActorId::from_wire(table->spec()->actor()), id);
  EXPECT_EQ(table->spec()->class_name()->str(), "Counter");
  EXPECT_EQ(bytes_of(table->spec()->methods()), std::string("\1\2\3"));
  EXPECT_EQ(table->instances()->Get(0)->ids()->Get(1), 3);
  EXPECT_EQ(actor_spec_of(*table->spec()).placement, (ResourceSet{{"CPU", 10'000}}));
}

TEST(StrategyOf, ReadsLabelConditions) {
  flexbuffers::Builder labels;
  labels.Map([&] {
    labels.Vector("hard", [&] {
      labels.Vector([&] {
        labels.String("zone");
        labels.String("not_in");
        labels.Vector([&] { labels.String("a"); });
      });
    });
  });
  labels.Finish();
  Builder builder;
  const auto bytes = builder.CreateVector(labels.GetBuffer());
  builder.Finish(wire::CreateStrategy(builder, wire::StrategyKind::NodeLabel, nullptr, false, bytes));
  const sched::Strategy strategy = strategy_of(flatbuffers::GetRoot<wire::Strategy>(builder.GetBufferPointer()));
  ASSERT_EQ(strategy.hard.size(), 1u);
  EXPECT_TRUE(strategy.allows({{"zone", "b"}}));
  EXPECT_FALSE(strategy.allows({{"zone", "a"}}));
}

TEST(MapOf, RefusesWhatIsNoMap) {
  const std::vector<uint8_t> nonsense = {1, 2, 3, 4, 5};
  EXPECT_EQ(map_of(nonsense.data(), nonsense.size()).size(), 0u);
  EXPECT_EQ(map_of(nullptr, 0).size(), 0u);
}

}  // namespace
}  // namespace narke::node
