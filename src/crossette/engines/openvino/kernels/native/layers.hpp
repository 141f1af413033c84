// OpenVINO's operation for all layers of a decoder: a list of instructions.
#pragma once

#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include <openvino/op/op.hpp>

#include "instructions.hpp"

namespace crossette {

// Registers are numbered: the first are inputs, the last has the result, and the others are slots of a scratch memory.
struct Program {
    size_t inputs;                // registers that are inputs of the node, the first of these
    size_t tables;                // kinds of block tables, each an input
    std::vector<size_t> widths;   // of all registers
    std::vector<std::unique_ptr<const Instruction>> instructions;

    size_t result() const { return widths.size() - 1; }
};

// Memory that begins with a cache line: threads that write adjacent columns share none.
class Scratch {
public:
    float* floats(size_t count) {
        if (_size < count) {
            _data.reset(static_cast<float*>(std::aligned_alloc(CACHE_LINE, count * sizeof(float))));
            _size = _data ? count : 0;
            if (!_data) throw std::bad_alloc();
        }
        return _data.get();
    }

private:
    struct Free {
        void operator()(float* data) const { std::free(data); }
    };
    std::unique_ptr<float, Free> _data;
    size_t _size = 0;
};

// Inputs: those of the program; past_lens, subsequence_begins and block_indices_begins of
// ov::op::PagedAttentionExtension; block_indices for each kind of layers; and a cache `[blocks, heads, BLOCK, columns +
// 8]` for each kind, with the heads of keys and values of all its layers, which is written in place.
class DecoderLayers : public ov::op::Op {
public:
    OPENVINO_OP("DecoderLayers", "crossette")

    DecoderLayers() = default;
    DecoderLayers(const ov::OutputVector& inputs, std::shared_ptr<const Program> program)
        : Op(inputs), _program(std::move(program)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        OPENVINO_ASSERT(_program && get_input_size() == _program->inputs + 3 + 2 * _program->tables);
        for (size_t port = 0; port < get_input_size(); port++)
            OPENVINO_ASSERT(get_input_element_type(port) == type_of(port));
        set_output_type(0, ov::element::f32, get_input_partial_shape(0));
    }

    // Nodes of the same type, inputs and attributes are merged, so the program must be among these.
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        auto program = static_cast<int64_t>(reinterpret_cast<intptr_t>(_program.get()));
        visitor.on_attribute("program", program);
        return true;
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<DecoderLayers>(inputs, _program);
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        outputs[0].set_shape(inputs[0].get_shape());
        Step step{inputs[0].get_size() / _program->widths[0]};
        for (size_t port = 0; port < _program->inputs; port++) {
            OPENVINO_ASSERT(inputs[port].get_size() == step.rows * _program->widths[port]);
            step.registers.push_back(const_cast<float*>(inputs[port].data<const float>()));
        }
        const auto* sizes = &inputs[_program->inputs];
        const size_t sequences = sizes[0].get_size();
        OPENVINO_ASSERT(sizes[1].get_size() == sequences + 1 && sizes[2].get_size() == sequences + 1);
        for (size_t kind = 0; kind < _program->tables; kind++) {
            step.sequences.push_back({integers(sizes[0]), integers(sizes[1]), integers(sizes[3 + kind]),
                                      integers(sizes[2]), sequences});
            step.caches.push_back(cache_of(sizes[3 + _program->tables + kind]));
        }
        const std::lock_guard lock(*_mutex);
        add_slots(step);
        step.registers.push_back(outputs[0].data<float>());
        Team team;
        for (const auto& instruction : _program->instructions) instruction->run(step);
        return true;
    }

private:
    ov::element::Type type_of(size_t port) const {
        if (port < _program->inputs) return ov::element::f32;
        return port < _program->inputs + 3 + _program->tables ? ov::element::i32 : ov::element::u8;
    }

    static const int32_t* integers(const ov::Tensor& tensor) { return tensor.data<const int32_t>(); }

    // A cache is an input that is written: the plug-in gives nodes the memory that a request was given.
    static Cache cache_of(const ov::Tensor& tensor) {
        const auto shape = tensor.get_shape();
        OPENVINO_ASSERT(shape.size() == 4 && shape[2] == BLOCK && shape[3] > 2 * sizeof(float));
        return {const_cast<uint8_t*>(tensor.data<const uint8_t>()), shape[1], shape[3] - 2 * sizeof(float)};
    }

    // The memory for slots is kept from step to step: the system clears new memory first.
    void add_slots(Step& step) const {
        std::vector<size_t> sizes;
        size_t size = 0;
        for (size_t slot = _program->inputs; slot < _program->result(); slot++) {
            constexpr size_t LINE = CACHE_LINE / sizeof(float);
            sizes.push_back((_program->widths[slot] * step.rows + LINE - 1) / LINE * LINE);
            size += sizes.back();
        }
        float* data = _scratch->floats(size);
        for (const size_t each : sizes) {
            step.registers.push_back(data);
            data += each;
        }
    }

    std::shared_ptr<const Program> _program;
    std::shared_ptr<std::mutex> _mutex = std::make_shared<std::mutex>();
    std::shared_ptr<Scratch> _scratch = std::make_shared<Scratch>();
};

}  // namespace crossette
